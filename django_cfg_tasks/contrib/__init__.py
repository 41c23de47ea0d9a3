"""What connects the engine to frameworks that a project may or may not use. Nobody below knows of these rooms."""
