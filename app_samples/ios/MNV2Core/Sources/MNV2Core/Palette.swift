/// A color for every class: the first seven are Okabe and Ito's, told apart by color-blind people.
public enum Palette {
    public struct Color: Sendable, Equatable {
        public let red: UInt8
        public let green: UInt8
        public let blue: UInt8
    }

    private static let colors: [(UInt8, UInt8, UInt8)] = [
        (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
        (213, 94, 0), (204, 121, 167), (135, 0, 240), (0, 255, 135), (135, 60, 45),
        (150, 120, 255), (180, 240, 195), (150, 165, 90), (165, 0, 120), (150, 240, 255),
        (180, 0, 0), (225, 0, 90), (255, 120, 150), (210, 0, 180), (135, 30, 195),
    ]

    /// Of a class from 1 on; 0 is the background, which has none. Beyond twenty they repeat.
    public static func color(_ index: Int) -> Color {
        let (red, green, blue) = colors[(max(index, 1) - 1) % colors.count]
        return Color(red: red, green: green, blue: blue)
    }

    /// A label map as 32-bit pixels (red, green, blue, opacity), the background transparent.
    public static func rgba(_ map: LabelMap, opacity: UInt8) -> [UInt8] {
        map.labels.flatMap { label -> [UInt8] in
            if label == 0 { return [0, 0, 0, 0] }
            let color = color(Int(label))
            return [color.red, color.green, color.blue, opacity]
        }
    }
}
