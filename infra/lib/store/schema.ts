import {
  type Attribute,
  AttributeType,
  ProjectionType,
  StreamViewType,
} from 'aws-cdk-lib/aws-dynamodb';
// Written out by the Rust crate: the one source of every name that the store, the publisher and
// this deployment share.
import schema from '../../../eventdb/schema.json';

/** The names in `eventdb/schema.json`, as they are. */
export { schema };

/** A key attribute as the schema file writes it. */
interface KeyAttribute {
  readonly name: string;
  readonly type: string;
}

/**
 * A key attribute of the schema file as the CDK takes it.
 *
 * @param attribute the attribute of the schema file
 */
export function keyAttribute(attribute: KeyAttribute): Attribute {
  return {
    name: attribute.name,
    type: member('attribute type', AttributeType, attribute.type),
  };
}

/**
 * A projection of the schema file as the CDK takes it.
 *
 * @param projectionType the value in the schema file, `ALL` for example
 */
export function projection(projectionType: string): ProjectionType {
  return member('projection type', ProjectionType, projectionType);
}

/** What the table's stream carries. */
export function streamView(): StreamViewType {
  return member('stream view type', StreamViewType, schema.table.streamViewType);
}

/** The names of all indexes of the table. */
export function indexNames(): string[] {
  return [...schema.table.globalSecondaryIndexes, ...schema.table.localSecondaryIndexes].map(
    (index) => index.name,
  );
}

function member<T extends string>(what: string, allowed: Record<string, T>, value: string): T {
  const found = Object.values(allowed).find((candidate) => candidate === value);
  if (found === undefined) {
    throw new Error(
      `eventdb/schema.json has the ${what} '${value}'; allowed are ${Object.values(allowed).join(', ')}`,
    );
  }
  return found;
}
