"""The self-contained demonstration: a world, its users and the scenario. Speaks HTTP only, like any client."""
