//! The HTTP doors of the control plane: the JSON API and the console.
