/** What a fault is. */
import type { Chance } from '../random.ts'
import type { World } from './world.ts'

export interface Scene {
  readonly world: World
  readonly chance: Chance
  /** The node it happens to, where it happens to one. */
  readonly victim: number
}

/** What was done, to whom, and how it is undone. Undefined: it could not be done. */
export interface Begun {
  readonly target: string
  readonly end?: () => Promise<void> | void
}

export interface Fault {
  readonly kind: string
  readonly weight: number
  readonly alone?: boolean
  /** It chooses the active controller. */
  readonly hitsController?: boolean
  begin(scene: Scene): Promise<Begun | undefined> | Begun | undefined
}
