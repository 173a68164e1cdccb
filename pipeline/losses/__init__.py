"""Loss functions: pure functions of tensors that know no model and no file."""
