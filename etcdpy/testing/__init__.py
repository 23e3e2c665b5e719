"""What our tests are made of, offered to the tests of others: a simulator, and helpers for real clusters."""
