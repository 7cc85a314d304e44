// swift-tools-version: 6.0
import PackageDescription

// Foundation only, so that it builds and is tested on Linux as well; older systems than the app's
// because nothing in it needs a newer one.
let package = Package(
    name: "MNV2Core",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "MNV2Core", targets: ["MNV2Core"])],
    targets: [
        .target(name: "MNV2Core"),
        .testTarget(name: "MNV2CoreTests", dependencies: ["MNV2Core"]),
    ],
    swiftLanguageModes: [.v6]
)
