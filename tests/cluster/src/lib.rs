//! A real local Kubernetes and Redis, without Docker.
