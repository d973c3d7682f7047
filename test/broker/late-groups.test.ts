import { expect, it } from 'vitest'
import { GROUP_CALLS } from '../../broker/transport/grpc/late-groups-service.ts'
import { GroupsService } from '../../protocol/gen/tidemark/v1/groups.ts'

it('the calls of groups that are known before they are loaded are those of the contract', () => {
  expect(GROUP_CALLS.map((name) => `/tidemark.v1.Groups/${name}`)).toEqual(Object.values(GroupsService).map(({ path }) => path))
})
