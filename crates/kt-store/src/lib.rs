//! Saves and loads what Keeptrusts keeps.
