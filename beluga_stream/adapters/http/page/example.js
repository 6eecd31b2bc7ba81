// A JSON value to begin with, by a JSON schema: whoever fills it in sees the names of its members.

const DEEPEST = 6;

export function example(schema, whole = schema, depth = 0) {
  if (schema === null || typeof schema !== "object" || depth > DEEPEST) return null;
  if (schema.$ref !== undefined) return example(referred(schema.$ref, whole), whole, depth + 1);
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.examples?.length > 0) return schema.examples[0];
  if (schema.enum?.length > 0) return schema.enum[0];
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (choices?.length > 0) return example(choices[0], whole, depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, part]) => [name, example(part, whole, depth + 1)]),
      );
    case "array":
      return schema.items === undefined ? [] : [example(schema.items, whole, depth + 1)];
    case "string":
      return "";
    case "integer":
    case "number":
      return schema.minimum ?? 0;
    case "boolean":
      return false;
    default:
      return null;
  }
}

function referred(ref, whole) {
  const steps = ref.replace(/^#\//, "").split("/");
  return steps.reduce((found, step) => found?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], whole) ?? null;
}
