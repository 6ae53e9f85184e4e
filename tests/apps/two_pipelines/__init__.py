"""A function app with two pipelines, which its app settings declare."""
