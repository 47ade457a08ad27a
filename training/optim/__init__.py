"""Loss, optimizer, learning rate, gradient clipping, averages of weights, mixed precision."""
