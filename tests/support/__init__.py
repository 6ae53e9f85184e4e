"""What tests share: processes, rigs, fakes, handlers."""
