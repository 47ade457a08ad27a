"""Loss, optimizer, learning rate, clipping, averages of weights, mixed precision."""
