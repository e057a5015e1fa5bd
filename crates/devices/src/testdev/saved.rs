//! What is saved of the test device.

use super::TestDevice;
use ireko_vmcore::saved::{Blob, Bytes, RestoreError, SaveRestore, Saved, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTestDevice {
    pub echo: Bytes<4>,
    pub memory: Blob,
}

impl Saved for SavedTestDevice {
    const NAME: &'static str = "test-device";
    const VERSION: u32 = 1;
}

impl SaveRestore for TestDevice {
    type Saved = SavedTestDevice;

    fn save(&self) -> SavedTestDevice {
        SavedTestDevice { echo: Bytes(self.echo), memory: Blob(self.memory.clone()) }
    }

    fn restore(&mut self, saved: SavedTestDevice) -> Result<(), RestoreError> {
        let Blob(memory) = saved.memory;
        ensure::<SavedTestDevice>(memory.len() == self.memory.len(), format!("{} bytes", memory.len()))?;
        (self.echo, self.memory) = (saved.echo.0, memory);
        Ok(())
    }
}
