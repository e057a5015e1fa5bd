//! Why cmdlets and parameters of Hyper-V's module are not there, and what does instead.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What it is about cannot be here.
    NoMeaning,
    NotYet,
}

/// Cmdlets whose names are or end in one of these words.
pub struct Cmdlets {
    words: &'static [&'static str],
    pub kind: Kind,
    pub sentence: &'static str,
}

/// Parameters, of one cmdlet or of all.
pub struct Parameters {
    pub names: &'static [&'static str],
    pub of: &'static str,
    pub sentence: &'static str,
}

const fn no_meaning(words: &'static [&'static str], sentence: &'static str) -> Cmdlets {
    Cmdlets { words, kind: Kind::NoMeaning, sentence }
}

const fn not_yet(words: &'static [&'static str], sentence: &'static str) -> Cmdlets {
    Cmdlets { words, kind: Kind::NotYet, sentence }
}

static CMDLETS: &[Cmdlets] = &[
    not_yet(
        &["Checkpoint-VM", "-VMSnapshot"],
        "Checkpoints are not there yet: stop the virtual machine and copy its disks.",
    ),
    not_yet(
        &["Save-VM", "-VMSavedState"],
        "Saved states are not there yet: Suspend-VM pauses a virtual machine, Stop-VM shuts it down.",
    ),
    not_yet(&["Export-VM"], "Export is not there yet: stop the virtual machine and copy its disks."),
    not_yet(
        &["Import-VM", "Compare-VM", "Repair-VM"],
        "Import is not there yet: New-VM with -VHDPath takes a disk that is there.",
    ),
    not_yet(
        &["Move-VM", "-VMMigration", "-VMMigrationNetwork"],
        "Virtual machines do not move between hosts yet: stop one, copy its disks, and make it there by New-VM -VHDPath.",
    ),
    not_yet(
        &["Move-VMStorage"],
        "Disks do not move while they are in use: stop the virtual machine, move the file, and tell it by Set-VMHardDiskDrive -Path.",
    ),
    not_yet(
        &["Debug-VM"],
        "Injecting an interrupt that cannot be masked is not there yet: docs/debugging.md says how to look into a guest.",
    ),
    not_yet(
        &["-VMTPM", "-VMKeyProtector", "-VMSecurity", "-VMSecurityPolicy"],
        "There is no virtual TPM yet, so there is nothing to protect with one; secure boot is Set-VMFirmware -EnableSecureBoot.",
    ),
    not_yet(
        &["-VMNetworkAdapterAcl", "-VMNetworkAdapterExtendedAcl"],
        "Access lists of adapters are not there yet: Set-VMNetworkAdapter has -DhcpGuard, -RouterGuard and -MacAddressSpoofing, Set-VMNetworkAdapterVlan keeps networks apart.",
    ),
    not_yet(
        &["-VMVideo", "-VMConsoleSupport"],
        "Set-VMScreen says which display a virtual machine has; how large it is, the guest decides.",
    ),
    not_yet(
        &["-VMScsiController", "-VMIdeController"],
        "Controllers come and go with their drives: Add-VMHardDiskDrive and Add-VMDvdDrive say by -ControllerType and -ControllerNumber where a drive is.",
    ),
    not_yet(
        &["Set-VHD"],
        "A disk's parent and its identifier are not changed yet: New-VHD -ParentPath makes another disk over a parent.",
    ),
    no_meaning(
        &["-VFD", "-VMFloppyDiskDrive"],
        "There are no floppy disks: give the virtual machine an ISO image by Add-VMDvdDrive, or a disk by New-VHD.",
    ),
    no_meaning(
        &["-VHDSet", "-VHDSnapshot"],
        "VHD sets are disks that the nodes of a Windows cluster share; here a disk belongs to one virtual machine at a time.",
    ),
    no_meaning(
        &["-VMAssignableDevice", "-VMHostAssignableDevice"],
        "Devices of the host are not given to virtual machines: a processor in software has no IOMMU that would keep them to their guest.",
    ),
    no_meaning(
        &["-VMGpuPartitionAdapter", "-VMHostPartitionableGpu"],
        "Graphics processors of the host are not given to virtual machines; Set-VMScreen -Adapter Virtio gives one a virtio GPU.",
    ),
    no_meaning(
        &["-VMRemoteFx3dVideoAdapter", "-VMRemoteFXPhysicalVideoAdapter"],
        "RemoteFX is Windows' own, and gone from it; Set-VMScreen -Adapter Virtio gives a virtual machine a virtio GPU.",
    ),
    no_meaning(
        &["-VMFibreChannelHba", "-VMSan", "-VMStoragePath"],
        "There is no Fibre Channel: a storage area network is the host's, and its disks are files or devices for Add-VMHardDiskDrive -Path.",
    ),
    no_meaning(
        &["-VMResourcePool", "Add-VMSwitch"],
        "There is one pool of everything, the host, which shows as Primordial: limits are settings of each virtual machine, adapter and disk.",
    ),
    no_meaning(
        &[
            "-VMReplication",
            "-VMReplicationAuthorizationEntry",
            "-VMReplicationConnection",
            "-VMReplicationServer",
            "-VMReplicationStatistics",
            "-VMInitialReplication",
            "-VMFailover",
            "-VMNetworkAdapterFailoverConfiguration",
            "Test-VMNetworkAdapter",
        ],
        "Hyper-V Replica speaks to Hyper-V servers only, and there are none here: copy disks of virtual machines that are Off.",
    ),
    no_meaning(
        &["-VMHostCluster"],
        "There are no clusters: each host has its own virtual machines and its own ireko shell.",
    ),
    no_meaning(
        &["-VMConnectAccess"],
        "Who may connect to a virtual machine is who owns it: its consoles and its screen are sockets in its owner's directory.",
    ),
    no_meaning(
        &["-VMEventing", "-VMTrace"],
        "Windows' event tracing is not there: `ireko vm log NAME` shows what a console said, and docs/debugging.md how a run is traced.",
    ),
    no_meaning(
        &["-VMNetworkAdapterIsolation", "-VMNetworkAdapterRoutingDomainMapping"],
        "Hyper-V's network virtualization is not there: Set-VMNetworkAdapterVlan keeps networks apart by VLANs, and so do switches.",
    ),
    no_meaning(
        &["-VMNetworkAdapterTeamMapping", "-VMSwitchTeam", "-VMSwitchTeamMember"],
        "Network interfaces are not teamed by a switch: the host's kernel bonds them, and New-VMSwitch -NetAdapterName takes the bond.",
    ),
    no_meaning(
        &[
            "-VMSwitchExtension",
            "-VMSwitchExtensionPortData",
            "-VMSwitchExtensionPortFeature",
            "-VMSwitchExtensionSwitchData",
            "-VMSwitchExtensionSwitchFeature",
            "-VMSystemSwitchExtension",
            "-VMSystemSwitchExtensionPortFeature",
            "-VMSystemSwitchExtensionSwitchFeature",
        ],
        "Extensions of a switch are drivers of Windows: `ireko switch capture` writes what goes over a switch, Get-VMSwitchPort what its ports count.",
    ),
];

static OTHER: Cmdlets =
    not_yet(&[], "This cmdlet of Hyper-V's is not there yet; docs/cmdlets.md says which are.");

/// Operations that only say that they are not there.
const SAY_SO: [&str; 1] = ["Save-VM"];

pub fn is_there(cmdlet: &str) -> bool {
    ireko_manage::find(cmdlet).is_some() && !SAY_SO.contains(&cmdlet)
}

/// The row of a cmdlet that is not there.
pub fn cmdlet(name: &str) -> &'static Cmdlets {
    let fits = |word: &&'static str| match word.strip_prefix('-') {
        Some(noun) => name.split_once('-').is_some_and(|(_, own)| own.eq_ignore_ascii_case(noun)),
        None => name.eq_ignore_ascii_case(word),
    };
    CMDLETS.iter().find(|row| row.words.iter().any(fits)).unwrap_or(&OTHER)
}

pub static PARAMETERS: &[Parameters] = &[
    Parameters {
        names: &["VMSnapshot", "SnapshotFileLocation"],
        of: "",
        sentence: "checkpoints are not there yet.",
    },
    Parameters {
        names: &["SnapshotId"],
        of: "",
        sentence: "VHD sets are disks that the nodes of a Windows cluster share.",
    },
    Parameters {
        names: &["ClusterObject", "NotMonitoredInCluster"],
        of: "",
        sentence: "there are no clusters.",
    },
    Parameters {
        names: &["ResourcePoolName", "ResourcePoolType"],
        of: "",
        sentence: "there is one pool of everything, the host, which shows as Primordial.",
    },
    Parameters {
        names: &["SourceGuestStatePath", "GuestStateIsolationType"],
        of: "",
        sentence: "no engine keeps a guest's memory from its host.",
    },
    Parameters {
        names: &["Prerelease", "Experimental"],
        of: "",
        sentence: "-Version says the configuration version, and all that there are run here.",
    },
    Parameters {
        names: &["GuestControlledCacheTypes", "LowMemoryMappedIoSpace", "HighMemoryMappedIoSpace"],
        of: "",
        sentence: "it is for devices of the host that a guest is given, and none are.",
    },
    Parameters {
        names: &["LockOnDisconnect"],
        of: "",
        sentence: "there is no enhanced session that could be locked: a screen is reached by VNC.",
    },
    Parameters {
        names: &["SmartPagingFilePath"],
        of: "",
        sentence: "the host's kernel swaps what is not in use, and says where by its own settings.",
    },
    Parameters {
        names: &["AutomaticCriticalErrorActionTimeout"],
        of: "",
        sentence: "who is held for its disks is held until they can be used again, or until Stop-VM -TurnOff.",
    },
    Parameters {
        names: &["DisableNumLock", "EnableNumLock"],
        of: "",
        sentence: "the guest's system says whether Num Lock is on.",
    },
    Parameters {
        names: &["DebuggerMode"],
        of: "",
        sentence: "docs/debugging.md says how to look into a guest.",
    },
    Parameters {
        names: &["ToControllerType", "ToControllerNumber", "ToControllerLocation"],
        of: "",
        sentence: "drives do not move: remove it and add it where it is to be.",
    },
    Parameters {
        names: &["SecureBootTemplate", "SecureBootTemplateId"],
        of: "",
        sentence: "there is one template: the keys of Microsoft, for Windows and for others, that Debian's firmware has.",
    },
    Parameters {
        names: &["PreferredNetworkBootProtocol", "ConsoleMode", "PauseAfterBootFailure"],
        of: "",
        sentence: "firmware decides that.",
    },
    Parameters {
        names: &["DiskNumber", "SourceDisk"],
        of: "",
        sentence: "disks of the host have paths here, like /dev/sdb, and no numbers.",
    },
    Parameters {
        names: &["SupportPersistentReservations"],
        of: "",
        sentence: "a disk belongs to one virtual machine at a time.",
    },
    Parameters {
        names: &[
            "MinimumIOPS",
            "QoSPolicyID",
            "QoSPolicy",
            "MinimumBandwidthAbsolute",
            "MinimumBandwidthWeight",
            "MinimumBandwidthMode",
            "DefaultFlowMinimumBandwidthAbsolute",
            "DefaultFlowMinimumBandwidthWeight",
        ],
        of: "",
        sentence: "nothing is kept for one against others; -MaximumIOPS and -MaximumBandwidth bound the others.",
    },
    Parameters {
        names: &["OverrideCacheAttributes"],
        of: "",
        sentence: "a disk's cache writes through when its guest says so.",
    },
    Parameters {
        names: &[
            "MaximumStorageMigrations",
            "MaximumVirtualMachineMigrations",
            "VirtualMachineMigrationAuthenticationType",
            "UseAnyNetworkForMigration",
            "VirtualMachineMigrationPerformanceOption",
        ],
        of: "",
        sentence: "virtual machines do not move between hosts yet.",
    },
    Parameters {
        names: &["FibreChannelWwnn", "FibreChannelWwpnMaximum", "FibreChannelWwpnMinimum"],
        of: "",
        sentence: "there is no Fibre Channel.",
    },
    Parameters {
        names: &["ResourceMeteringSaveInterval"],
        of: "",
        sentence: "meters are written every ten seconds.",
    },
    Parameters { names: &["MaximumAmountPerNumaNodeBytes"], of: "", sentence: "a guest sees one NUMA node." },
    Parameters {
        names: &["IsLegacy"],
        of: "",
        sentence: "adapters are virtio's, for which firmware and all systems that run here have drivers.",
    },
    Parameters {
        names: &["IovWeight", "IovQueuePairsRequested", "IovInterruptModeration", "EnableIov"],
        of: "",
        sentence: "there is no SR-IOV: frames go over sockets, and no network card knows of virtual machines.",
    },
    Parameters {
        names: &[
            "VmqWeight",
            "VrssEnabled",
            "VmmqEnabled",
            "VmmqQueuePairs",
            "PacketDirectNumProcs",
            "PacketDirectModerationCount",
            "PacketDirectModerationInterval",
            "EnablePacketDirect",
            "DefaultQueueVrssEnabled",
            "DefaultQueueVmmqEnabled",
            "DefaultQueueVmmqQueuePairs",
            "IPsecOffloadMaximumSecurityAssociation",
            "FixSpeed10G",
        ],
        of: "",
        sentence: "it is about queues and offloads of network cards that know of virtual machines; frames go over sockets here.",
    },
    Parameters {
        names: &["MandatoryFeatureId", "Extensions"],
        of: "",
        sentence: "extensions of a switch are drivers of Windows.",
    },
    Parameters {
        names: &["TestReplicaPoolName", "TestReplicaSwitchName"],
        of: "",
        sentence: "Hyper-V Replica speaks to Hyper-V servers only.",
    },
    Parameters {
        names: &["VirtualSubnetId"],
        of: "",
        sentence: "Hyper-V's network virtualization is not there; Set-VMNetworkAdapterVlan keeps networks apart.",
    },
    Parameters {
        names: &["AllowTeaming", "EnableEmbeddedTeaming"],
        of: "",
        sentence: "the host's kernel bonds network interfaces, and New-VMSwitch -NetAdapterName takes the bond.",
    },
    Parameters {
        names: &["PrimaryVlanId", "SecondaryVlanId", "SecondaryVlanIdList"],
        of: "",
        sentence: "private VLANs are not there: -Access and -Trunk are.",
    },
    Parameters { names: &["Perfmon"], of: "", sentence: "no engine shows a guest counters of performance." },
    Parameters {
        names: &["LeafPath"],
        of: "Set-VHD",
        sentence: "checkpoints, whose disks have leaves, are not there yet.",
    },
];

/// The row of a parameter that is not there.
pub fn parameter(cmdlet: &str, name: &str) -> Option<&'static Parameters> {
    let fits = |row: &&Parameters| {
        (row.of.is_empty() || row.of.eq_ignore_ascii_case(cmdlet))
            && row.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    };
    PARAMETERS.iter().find(fits)
}
