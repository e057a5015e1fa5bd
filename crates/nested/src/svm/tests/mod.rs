mod checks;
mod codes;
mod entry;
mod events;
mod exits;
mod fuzz;
mod state;
