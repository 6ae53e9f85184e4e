// ESLint's rules for the console's page and for the scripts that Node loads. See `make lint`.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: { eqeqeq: ["error", "always", { null: "ignore" }], "no-var": "error", "prefer-const": "error" },
  },
  {
    files: ["console/static/*.js"],
    languageOptions: { globals: globals.browser },
  },
  {
    files: ["**/*.cjs", "scripts/*.mjs"],
    languageOptions: { globals: globals.node },
  },
];
