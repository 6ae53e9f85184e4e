"""The pipelines of one instance, side by side: none waits for another one."""
