"""SavedModels: conversion, TensorFlow graphs of a network, and checks of the input."""
