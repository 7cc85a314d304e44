import SwiftUI

@main
struct MNV2App: App {
    @State private var session = Session()

    var body: some Scene {
        WindowGroup {
            RootView()
                .environment(session)
                .task { await session.open() }
        }
    }
}
