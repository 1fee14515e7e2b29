// zigbee-herdsman's controller, told what to do by lines of JSON on standard input: every answer and
// every event is a line of JSON on standard output. The database and backup files are its own.
//
//   {"do": "start"}                          -> {"done": "start", "result": "reset" | "resumed" | "restored"}
//   {"do": "permit", "seconds": 60}          -> {"done": "permit"}
//   {"do": "installCode", "code": "..."}     -> {"done": "installCode"}
//   {"do": "read", "ieee": "0x...", "cluster": "genBasic", "attributes": [...]} -> {"done": "read", "result": {...}}
//   {"do": "network"}                        -> {"done": "network", "result": {...}}
//   {"do": "backup"}                         -> {"done": "backup"}
//   {"do": "stop"}                           -> {"done": "stop"}, and the process ends
//
// Anything that fails is {"failed": what, "error": sentence}.
"use strict";

const readline = require("node:readline");
const {Controller, setLogger} = require("zigbee-herdsman");

const options = JSON.parse(process.argv[2]);
if (options.seeded) {
    require("node:crypto").randomBytes = (octets) => Buffer.alloc(octets, 0x4b);
}
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const log = (level) => (message, namespace) =>
    say({log: level, namespace, message: typeof message === "function" ? message() : message});
const silent = () => {};

setLogger({
    debug: options.debug ? log("debug") : silent,
    info: options.debug ? log("info") : silent,
    warning: log("warning"),
    error: log("error"),
});

const controller = new Controller({
    network: options.network,
    serialPort: {path: options.path, adapter: "ember", baudRate: 115200, rtscts: false},
    databasePath: options.database,
    databaseBackupPath: `${options.database}.backup`,
    backupPath: options.backup,
    adapter: {disableLED: true},
    acceptJoiningDeviceHandler: async () => true,
});

for (const name of ["deviceJoined", "deviceAnnounce", "deviceLeave", "adapterDisconnected"]) {
    controller.on(name, (data) =>
        say({event: name, ieee: data?.device?.ieeeAddr ?? data?.ieeeAddr}),
    );
}
controller.on("deviceInterview", ({status, device}) =>
    say({
        event: "deviceInterview",
        status,
        ieee: device.ieeeAddr,
        type: device.type,
        manufacturer: device.manufacturerName,
        model: device.modelID,
        endpoints: device.endpoints.map((endpoint) => ({
            id: endpoint.ID,
            profile: endpoint.profileID,
            inputs: endpoint.inputClusters,
            outputs: endpoint.outputClusters,
        })),
    }),
);
controller.on("message", ({type, device, cluster, data}) =>
    say({event: "message", type, ieee: device?.ieeeAddr, cluster, data}),
);

const actions = {
    start: async () => await controller.start(),
    permit: async ({seconds}) => await controller.permitJoin(seconds),
    installCode: async ({code}) => await controller.addInstallCode(code),
    read: async ({ieee, cluster, attributes}) =>
        await controller.getDeviceByIeeeAddr(ieee).endpoints[0].read(cluster, attributes),
    network: async () => await controller.getNetworkParameters(),
    backup: async () => await controller.backup(),
    stop: async () => await controller.stop(),
};

process.on("unhandledRejection", (error) => say({failed: "unhandled", error: String(error)}));

readline.createInterface({input: process.stdin}).on("line", async (line) => {
    const asked = JSON.parse(line);
    try {
        say({done: asked.do, result: await actions[asked.do](asked)});
    } catch (error) {
        say({failed: asked.do, error: String(error)});
    }
    if (asked.do === "stop") {
        process.exit(0);
    }
});
