"""Many runs as one table: planned at once, shared between machines, survived, judged on validation alone."""
