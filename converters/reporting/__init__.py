"""Reports on exported files: ops, times and memory of TFLite ones, accuracy and time of any."""
