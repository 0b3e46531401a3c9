"""Helpers of the tests: small networks, pictures, servers, training runs."""
