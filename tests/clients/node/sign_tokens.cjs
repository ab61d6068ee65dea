// Signs what standard input asks for with Node's jsonwebtoken, and prints the tokens:
// a list of {key, payload, options} becomes a list of {token} or {error}.

const { readFileSync } = require("node:fs");
const jwt = require("jsonwebtoken");

const requests = JSON.parse(readFileSync(0, "utf8"));
const answers = requests.map(({ key, payload, options }) => {
  try {
    return { token: jwt.sign(payload, key, options) };
  } catch (error) {
    return { error: error.message };
  }
});
console.log(JSON.stringify(answers));
