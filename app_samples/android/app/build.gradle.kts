plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "io.github.mnv2.app"
    compileSdk = 36

    defaultConfig {
        applicationId = "io.github.mnv2.app"
        minSdk = 23 // executorch-android's
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        // executorch-android has no libraries for other processors; fbjni, which it needs, does.
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    androidResources {
        noCompress += "pte" // its weights do not get smaller
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

dependencies {
    implementation(libs.executorch)
}
