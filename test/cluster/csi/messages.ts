/** The parts of the CSI messages that the driver reads and writes, as proto-loader hands them over (keepCase). */

export interface Topology {
  readonly segments: Readonly<Record<string, string>>
}

export interface VolumeCapability {
  readonly block?: object | null
  readonly mount?: { readonly fs_type: string; readonly mount_flags: readonly string[] } | null
  readonly access_mode?: { readonly mode: string } | null
}

export interface CapacityRange {
  readonly required_bytes: number
  readonly limit_bytes: number
}

export interface ContentSource {
  readonly snapshot?: { readonly snapshot_id: string } | null
  readonly volume?: { readonly volume_id: string } | null
}

export interface VolumeMessage {
  readonly volume_id: string
  readonly capacity_bytes: number
  readonly volume_context: Readonly<Record<string, string>>
  readonly content_source: ContentSource | null
  readonly accessible_topology: readonly Topology[]
}

export interface SnapshotMessage {
  readonly snapshot_id: string
  readonly source_volume_id: string
  readonly size_bytes: number
  readonly creation_time: { readonly seconds: number; readonly nanos: number }
  readonly ready_to_use: boolean
}

export interface CreateVolumeRequest {
  readonly name: string
  readonly capacity_range: CapacityRange | null
  readonly volume_capabilities: readonly VolumeCapability[]
  readonly volume_content_source: ContentSource | null
  readonly accessibility_requirements: { readonly requisite: readonly Topology[] } | null
}

export interface VolumeRequest {
  readonly volume_id: string
}

export interface ValidateRequest extends VolumeRequest {
  readonly volume_capabilities: readonly VolumeCapability[]
}

export interface ExpandRequest extends VolumeRequest {
  readonly capacity_range: CapacityRange | null
}

export interface ListRequest {
  readonly max_entries: number
  readonly starting_token: string
}

export interface ListSnapshotsRequest extends ListRequest {
  readonly snapshot_id: string
  readonly source_volume_id: string
}

export interface CreateSnapshotRequest {
  readonly source_volume_id: string
  readonly name: string
}

export interface SnapshotRequest {
  readonly snapshot_id: string
}

export interface StageRequest extends VolumeRequest {
  readonly staging_target_path: string
  readonly volume_capability: VolumeCapability | null
}

export interface PublishRequest extends StageRequest {
  readonly target_path: string
  readonly readonly: boolean
}

export interface UnpublishRequest extends VolumeRequest {
  readonly target_path: string
}

export interface NodeVolumeRequest extends VolumeRequest {
  readonly volume_path: string
}

export interface NodeExpandRequest extends NodeVolumeRequest {
  readonly volume_capability: VolumeCapability | null
}
