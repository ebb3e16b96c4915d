"""From version to traffic: routes, gateway, effect proof, verdict and rollout."""
