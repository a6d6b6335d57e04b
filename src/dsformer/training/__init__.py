"""Learning the factorizations on a task: learners, distillation, and the Trainer that runs them."""
