//! Flows by number, and for each guest the order in which they were used.

/// A place in the table, and whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    index: u32,
    generation: u32,
}

impl Id {
    /// In 56 bits.
    pub fn number(self) -> u64 {
        u64::from(self.generation & 0xff_ffff) << 32 | u64::from(self.index)
    }
    pub fn of(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 & 0xff_ffff }
    }
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// Towards those that were used earlier, and later.
    earlier: u32,
    later: u32,
    value: Option<T>,
}

/// One guest's flows, from the one that was unused for longest to the one used last.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    oldest: u32,
    newest: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE }
    }
}

#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn slot(&self, id: Id) -> Option<&Slot<T>> {
        self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)
    }

    pub fn get(&self, id: Id) -> Option<&T> {
        self.slot(id)?.value.as_ref()
    }

    pub fn entry(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == id.generation)
    }

    /// Where the next one will be: its socket wants to know before it is there.
    pub fn next(&self) -> Id {
        match self.free.last() {
            Some(&index) => Id { index, generation: self.slots[index as usize].generation },
            None => Id { index: self.slots.len() as u32, generation: 0 },
        }
    }

    pub fn insert(&mut self, value: T, order: &mut Order) -> Id {
        let id = self.next();
        match self.free.pop() {
            Some(index) => self.slots[index as usize].value = Some(value),
            None => self.slots.push(Slot { generation: 0, earlier: NONE, later: NONE, value: Some(value) }),
        }
        self.append(id.index, order);
        id
    }

    pub fn remove(&mut self, id: Id, order: &mut Order) -> Option<T> {
        self.get(id)?;
        self.unlink(id.index, order);
        let slot = &mut self.slots[id.index as usize];
        slot.generation = (slot.generation + 1) & 0xff_ffff;
        self.free.push(id.index);
        slot.value.take()
    }

    /// It was used just now.
    pub fn touch(&mut self, id: Id, order: &mut Order) {
        if order.newest != id.index && self.get(id).is_some() {
            self.unlink(id.index, order);
            self.append(id.index, order);
        }
    }

    /// The one that was unused for longest.
    pub fn oldest(&self, order: &Order) -> Option<Id> {
        let slot = self.slots.get(order.oldest as usize)?;
        Some(Id { index: order.oldest, generation: slot.generation })
    }

    pub fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        let there = self.slots.iter().zip(0..).filter(|(slot, _)| slot.value.is_some());
        there.map(|(slot, index)| Id { index, generation: slot.generation })
    }

    fn append(&mut self, index: u32, order: &mut Order) {
        let before = order.newest;
        let slot = &mut self.slots[index as usize];
        (slot.earlier, slot.later) = (before, NONE);
        match self.slots.get_mut(before as usize) {
            Some(before) => before.later = index,
            None => order.oldest = index,
        }
        order.newest = index;
    }

    fn unlink(&mut self, index: u32, order: &mut Order) {
        let (earlier, later) = (self.slots[index as usize].earlier, self.slots[index as usize].later);
        match self.slots.get_mut(earlier as usize) {
            Some(slot) => slot.later = later,
            None => order.oldest = later,
        }
        match self.slots.get_mut(later as usize) {
            Some(slot) => slot.earlier = earlier,
            None => order.newest = earlier,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_unused_for_longest_is_the_oldest() {
        let (mut table, mut order) = (Table::default(), Order::default());
        let [a, b, c] = [1, 2, 3].map(|n| table.insert(n, &mut order));
        table.touch(a, &mut order);
        assert_eq!(table.oldest(&order), Some(b));
        table.remove(b, &mut order);
        assert_eq!(table.oldest(&order), Some(c));
        table.remove(c, &mut order);
        table.remove(a, &mut order);
        assert_eq!(table.oldest(&order), None);
    }

    #[test]
    fn a_place_that_was_given_anew_is_not_who_had_it() {
        let (mut table, mut order) = (Table::default(), Order::default());
        let first = table.insert(1, &mut order);
        table.remove(first, &mut order);
        let second = table.insert(2, &mut order);
        assert_eq!((table.get(first), table.get(second)), (None, Some(&2)));
        assert_eq!(Id::of(second.number()), second);
    }
}
