"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: admission by expressions that live in the API."""
