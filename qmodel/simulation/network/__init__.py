"""Whatever else a scenario asks for, on the general event loop: from its classes and system to rows, and back."""
