"""What tests of training share: small sessions, workers as processes, references of timm."""
