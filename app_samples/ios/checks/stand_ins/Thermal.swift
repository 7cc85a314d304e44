// Stand-in for what Foundation has on Apple's systems only; compiled with the app's sources.
import Foundation

extension ProcessInfo {
    enum ThermalState: Sendable { case nominal, fair, serious, critical }
    var thermalState: ThermalState { .nominal }
}
