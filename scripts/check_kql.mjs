// Checks KQL queries against the columns of their tables, with Kusto's own language service.
//
//     python -m scripts.check_infra.queries | node scripts/check_kql.mjs
//
// Reads a JSON object of queries by alarm, prints each problem with the alarm's name, and exits with 1
// if there are problems. Each run first checks that the controls below are refused.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runInThisContext } from "node:vm";

// The documented columns of the tables in Log Analytics; add a column before a query uses it.
const TABLES = {
  AppMetrics:
    "TimeGenerated: datetime, Name: string, ItemCount: int, Sum: real, Min: real, Max: real, " +
    "Properties: dynamic, AppRoleName: string, AppRoleInstance: string, AppVersion: string, _ResourceId: string",
  AzureMetrics:
    "TimeGenerated: datetime, MetricName: string, Average: real, Count: real, Maximum: real, Minimum: real, " +
    "Total: real, TimeGrain: string, UnitName: string, Resource: string, ResourceGroup: string, " +
    "ResourceProvider: string, _ResourceId: string",
  AzureDiagnostics:
    "TimeGenerated: datetime, Category: string, OperationName: string, Level: string, Resource: string, " +
    "ResourceGroup: string, ResourceProvider: string, ResourceType: string, _ResourceId: string, " +
    "code_s: string, status_s: string, error_code_s: string, error_message_s: string, " +
    "resource_actionName_s: string, resource_triggerName_s: string, resource_runId_s: string, " +
    "resource_originRunId_s: string, resource_workflowName_s: string",
};

// Queries with one mistake each, and a part of the message that each must cause.
const CONTROLS = {
  "unknown column": ["AppMetrics | where Nam == 'x'", "'Nam' does not refer to any known column"],
  "unknown column of an alarm": ["AzureMetrics | where Sum > 0", "'Sum' does not refer to any known column"],
  "unknown column with a default": [
    'AzureDiagnostics | where column_ifexists("stats_s", "") == "Failed"',
    "'stats_s' does not refer to any known column",
  ],
  "unknown column without the table": [
    'union isfuzzy=true (print Name = ""), AppMetrics | where Sum > 0',
    "'Sum' does not refer to any known column",
  ],
  "no union": ["AppMetrics | where Sum > 0", "fails without the table AppMetrics"],
  "unknown table": ["AppMetric | count", "'AppMetric' does not refer to any known table"],
  "wrong type": ["AppMetrics | where Max > 'a'", "not defined for the operand types"],
  "missing expression": ["AppMetrics | where", "Missing expression"],
};

const require = createRequire(import.meta.url);
// The package is two plain scripts, which set globals.
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  const path = require.resolve(`@kusto/language-service-next/${file}`);
  runInThisContext(readFileSync(path, "utf8"), { filename: path });
}
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

function database() {
  const tables = new (globalThis.System.Collections.Generic.List$1(Symbols.Symbol).ctor)();
  for (const [name, columns] of Object.entries(TABLES)) {
    tables.add(new Symbols.TableSymbol.$ctor7(name, `(${columns})`, null));
  }
  return GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor3("logs", null, tables, false));
}

const globals = database();

// Returns the messages about a query. A column with a default is checked like any other column.
// A query of AppMetrics must also be valid without the table, which the app's first metric creates: its
// union then has the columns of `print` only.
function problems(query) {
  const messages = new Set();
  const texts = [query, query.replace(/column_ifexists\(\s*"(\w+)"\s*,[^()]*\)/g, "$1")];
  if (/\bAppMetrics\b/.test(query)) {
    const alone = query.replace(/^(union isfuzzy=true \(print .*\)), AppMetrics \|/, "$1 |");
    if (alone === query) messages.add("fails without the table AppMetrics; begin with its union");
    else texts.push(alone);
  }
  for (const text of texts) {
    const found = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
    for (let index = 0; index < found.Count; index++) messages.add(found.getItem(index).Message);
  }
  return [...messages];
}

let failed = false;
function report(line) {
  console.error(line);
  failed = true;
}

for (const [name, [query, part]] of Object.entries(CONTROLS)) {
  if (!problems(query).some((message) => message.includes(part))) report(`control "${name}" is not refused: ${query}`);
}
const queries = Object.entries(JSON.parse(readFileSync(0, "utf8")));
if (queries.length === 0) report("there are no queries to check");
for (const [name, query] of queries) {
  for (const message of problems(query)) report(`alarm ${name}: ${message}\n  ${query}`);
}
if (!failed) console.log(`kql: ${queries.length} queries, ${Object.keys(CONTROLS).length} controls refused`);
process.exitCode = failed ? 1 : 0;
