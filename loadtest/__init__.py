"""A load test that sends ordered events and verifies from the outside what became of each."""
