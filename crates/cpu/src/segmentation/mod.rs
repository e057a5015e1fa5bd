//! Segmentation as the manual's chapters 4 and 12 have it: descriptors, stacks with their limits, and hardware task switches.

pub mod descriptor;
pub mod stack;
pub mod task;
