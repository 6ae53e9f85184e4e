"""Events, batches and rigs for tests of processing."""
