// Prints what the verifier (the first argument) says of each vector (the second), as a JSON list.
const { verify, Refused } = require(process.argv[2]);
const said = JSON.parse(require('fs').readFileSync(process.argv[3])).map((one) => {
    try {
        verify(one.keys, one.headers, Buffer.from(one.body), { now: one.now });
        return 'ok';
    } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return error.reason;
    }
});
console.log(JSON.stringify(said));
