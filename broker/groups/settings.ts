/** What a node's configuration says about groups. */
export interface GroupSettings {
  /** For members that do not say, and the bounds for those that do. */
  readonly sessionTimeoutMs: number
  readonly sessionTimeoutMinMs: number
  readonly sessionTimeoutMaxMs: number
  readonly rebalanceTimeoutMs: number
  readonly rebalanceTimeoutMaxMs: number
  readonly heartbeatIntervalMs: number
  readonly offsetsRetentionMs: number
  /** Partitions of `__consumer_offsets`, when it is made. */
  readonly offsetsPartitions: number
}
