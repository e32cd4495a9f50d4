"""The demonstration: one machine, two real engines without a GPU, and a conversation through the endpoint."""
