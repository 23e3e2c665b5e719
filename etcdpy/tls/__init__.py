"""TLS as both ports need it: `certificates` looks into X.509, `settings` turns flags into contexts."""
