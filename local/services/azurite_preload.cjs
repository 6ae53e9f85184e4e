// Azurite loads Application Insights before it looks at --disableTelemetry, and an SQL library that
// only AZURITE_DB asks for: two thirds of its start. Empty modules in their place start faster, and
// nothing can be sent.
const Module = require("node:module");
const load = Module._load;
const unused = {
  applicationinsights: {},
  ...(process.env.AZURITE_DB ? {} : { sequelize: { Model: class {} } }),
};
Module._load = function (request, ...rest) {
  return unused[request] ?? load.call(this, request, ...rest);
};
