// What a program does with etcd3 of npm, on gRPC in JavaScript and Node's own HTTP/2.
const assert = require("assert");
const fs = require("fs");
const { Etcd3 } = require("etcd3");

async function keysAndValues(client) {
  await client.put("node/k").value("v");
  assert.strictEqual(await client.get("node/k").string(), "v");
  await Promise.all(Array.from({ length: 100 }, (_, number) => client.put(`node/many/${number}`).value(number)));
  const all = await client.getAll().prefix("node/many/").numbers();
  assert.strictEqual(Object.keys(all).length, 100);
  assert.strictEqual(all["node/many/42"], 42);
  assert.strictEqual(await client.getAll().prefix("node/many/").count(), 100);
  await client.delete().prefix("node/many/");
  assert.deepStrictEqual(await client.getAll().prefix("node/many/").keys(), []);
  assert.strictEqual(await client.get("node/none").string(), null);
}

async function transactions(client) {
  await client.put("node/t").value("1");
  const result = await client
    .if("node/t", "Value", "==", "1")
    .then(client.put("node/t").value("2"))
    .else(client.delete().key("node/t"))
    .commit();
  assert.strictEqual(result.succeeded, true);
  await client.stm().transact(async (tx) => {
    const value = await tx.get("node/t").number();
    await tx.put("node/t").value(value + 1);
  });
  assert.strictEqual(await client.get("node/t").string(), "3");
}

async function watching(client) {
  const watcher = await client.watch().prefix("node/w/").create();
  const seen = [];
  const enough = new Promise((resolve) => {
    watcher.on("put", (kv) => seen.push(["put", kv.key.toString(), kv.value.toString()]));
    watcher.on("delete", (kv) => {
      seen.push(["delete", kv.key.toString()]);
      resolve();
    });
  });
  await client.put("node/w/a").value("1");
  await client.put("node/w/b").value("2");
  await client.delete().key("node/w/a");
  await enough;
  await watcher.cancel();
  assert.deepStrictEqual(seen, [["put", "node/w/a", "1"], ["put", "node/w/b", "2"], ["delete", "node/w/a"]]);
}

async function leasesAndLocks(client) {
  const lease = client.lease(30);
  await lease.put("node/l").value("v");
  await lease.keepaliveOnce();
  await lease.revoke();
  assert.strictEqual(await client.get("node/l").string(), null);
  let held = false;
  await client.lock("node/lock").do(async () => {
    held = true;
    await assert.rejects(client.lock("node/lock").acquire());
  });
  assert.ok(held);
}

async function elections(client) {
  const election = client.election("node/election", 10);
  const campaign = election.campaign("me");
  await new Promise((resolve, reject) => {
    campaign.on("elected", resolve);
    campaign.on("error", reject);
  });
  assert.strictEqual(await election.leader(), "me");
  await campaign.resign();
}

async function errors(client) {
  await assert.rejects(client.put("").value("v").exec(), /key is not provided/);
  await assert.rejects(
    client.leaseClient.leaseRevoke({ ID: "12345" }),
    (error) => /lease not found/.test(error.message),
  );
}

async function maintenance(client) {
  const status = await client.maintenance.status();
  assert.ok(status.version);
  const members = await client.cluster.memberList({});
  assert.ok([1, 3].includes(members.members.length));
}

async function main() {
  const where = JSON.parse(process.argv[2]);
  const options = { hosts: `${where.ca ? "https" : "http"}://${where.host}:${where.port}` };
  if (where.ca) {
    options.credentials = {
      rootCertificate: fs.readFileSync(where.ca),
      privateKey: fs.readFileSync(where.key),
      certChain: fs.readFileSync(where.cert),
    };
  }
  const client = new Etcd3(options);
  for (const step of [keysAndValues, transactions, watching, leasesAndLocks, elections, errors, maintenance]) {
    await step(client);
    console.log(`done: ${step.name}`);
  }
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
