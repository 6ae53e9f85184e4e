"""What starts functions: one module for each kind of trigger."""
