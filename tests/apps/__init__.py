"""Small function apps that the tests of the Functions host run."""
