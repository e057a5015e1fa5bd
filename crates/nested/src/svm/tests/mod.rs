mod checks;
mod codes;
mod entry;
mod events;
mod exits;
mod fuzz;
mod interrupts;
mod state;
