# Translations, where the tool for them is at hand (Debian: qt6-l10n-tools); without it the texts
# are those of the source. After changing texts:
#   lupdate app -I . -locations none -ts resources/translations/pillarbox_en.ts
find_program(PILLARBOX_LRELEASE lrelease HINTS /usr/lib/qt6/bin)
if(PILLARBOX_LRELEASE)
  set(catalogues)
  foreach(language en)
    set(source ${PROJECT_SOURCE_DIR}/resources/translations/pillarbox_${language}.ts)
    set(catalogue ${CMAKE_CURRENT_BINARY_DIR}/pillarbox_${language}.qm)
    add_custom_command(OUTPUT ${catalogue}
      COMMAND ${PILLARBOX_LRELEASE} -silent ${source} -qm ${catalogue}
      DEPENDS ${source}
      COMMENT "Compiling pillarbox_${language}.qm"
      VERBATIM)
    list(APPEND catalogues ${catalogue})
  endforeach()
  qt_add_resources(pillarbox translations PREFIX /translations BASE ${CMAKE_CURRENT_BINARY_DIR}
    FILES ${catalogues})
endif()
