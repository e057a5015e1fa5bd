//! What the parser makes of PowerShell's quirks.
