"""What tests share: small networks, pictures, servers, runs."""
