"""The Common Expression Language as Kubernetes has it: parsing, types, evaluation under a cost limit, estimates."""
